"""The outbox: a change-log table that triggers write and polls read.

Every insert, update, delete and (on Postgres) TRUNCATE of a logged table adds an entry in the
application's own transaction, with the keys and foreign keys of the row before and after. So a
change is seen however short it lasted, a delete and a moved foreign key with what they were, and
nothing has to be compared.

`model` has the words, `sqlite`, `postgres` and `mariadb` the SQL, `install` makes, checks and
removes it, `reader` reads it.
"""
