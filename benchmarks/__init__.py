"""What `make bench` measures; `README.md` says how.

A *world* is tables with rows, and the indexes that are made of them. A *program* keeps those
indexes in step: flusso of this environment, flusso of another commit, or any other command. A
*session* starts one program on one world, lets it fill the indexes, and puts changes to it; the
*floor* does the same reads and writes with nothing around them. `suite` runs sessions and floors
by turns and gives `results`, from which `goals`, `report` and `plots` are made.
"""
