-- What happens in the shop one day. Each change is one statement, to be committed on its own; the
-- comment line before it begins with `change:` and gives its name. Each picks its rows by rule, so
-- that it does the same in every shop of one size, and hits documents that exist. In this order:
-- the later ones choose among what the earlier ones left.

-- change: a price
-- The dearest product that is for sale. Its own document, and those of its predecessors.
UPDATE products SET price = price + 10.01
WHERE id = (SELECT id FROM products
            WHERE NOT discontinued AND price > 0 AND sku NOT LIKE 'TEST-%'
            ORDER BY price DESC, id LIMIT 1);

-- change: an order item deleted
-- Of the newest order that its customer sees as the last one. The order, the customer's last order,
-- and the number that the product sold.
DELETE FROM order_items
WHERE id = (SELECT i.id
            FROM orders o
            JOIN users u ON u.id = o.user_id AND u.deleted_at IS NULL
            JOIN order_items i ON i.order_id = o.id AND i.quantity > 0 AND NOT i.returned
            JOIN products p ON p.id = i.product_id
                AND NOT p.discontinued AND p.price >= 0 AND p.sku NOT LIKE 'TEST-%'
            WHERE o.status = 'delivered' AND o.total > 0
              AND NOT EXISTS (SELECT FROM orders later
                              WHERE later.user_id = o.user_id AND later.id <> o.id
                                AND later.placed_at >= o.placed_at)
            ORDER BY o.placed_at DESC, o.id, i.id LIMIT 1);

-- change: an order moved to another user
-- The dearest one, to the youngest account: the order, the user who loses it, the user who gets it.
UPDATE orders
SET user_id = (SELECT u.id FROM users u
               WHERE u.deleted_at IS NULL AND u.id <> orders.user_id
               ORDER BY u.created_at DESC, u.id LIMIT 1)
WHERE id = (SELECT o.id
            FROM orders o
            JOIN users u ON u.id = o.user_id AND u.deleted_at IS NULL
            WHERE o.status IN ('paid', 'shipped', 'delivered')
            ORDER BY o.total DESC, o.id LIMIT 1);

-- change: a product renamed
-- The one in the most orders (more than 500 in a shop of 20,000 users): its own document, all of
-- those orders, and the users whose last order shows it or who wrote a review of it.
UPDATE products SET name = 'Ñandú "Speedster" ' || id || ' (2nd edition)'
WHERE id = (SELECT i.product_id
            FROM order_items i
            JOIN orders o ON o.id = i.order_id AND o.status <> 'draft' AND o.total >= 0
            JOIN products p ON p.id = i.product_id
                AND NOT p.discontinued AND p.price >= 0 AND p.sku NOT LIKE 'TEST-%'
            GROUP BY i.product_id
            ORDER BY count(DISTINCT o.id) DESC, i.product_id LIMIT 1);

-- change: a user soft-deleted
-- The one with the most visible reviews. Their document goes; their orders lose the customer, and
-- their reviews the author.
UPDATE users SET deleted_at = timestamptz '2025-12-01 10:00:00+01'
WHERE id = (SELECT u.id
            FROM users u
            JOIN orders o ON o.user_id = u.id AND o.status <> 'draft' AND o.total >= 0
            JOIN reviews r ON r.user_id = u.id AND r.visible
            JOIN products p ON p.id = r.product_id
                AND NOT p.discontinued AND p.price >= 0 AND p.sku NOT LIKE 'TEST-%'
            WHERE u.deleted_at IS NULL
            GROUP BY u.id
            ORDER BY count(DISTINCT r.id) DESC, u.id LIMIT 1);

-- change: a tag truncated away
-- The table of pairs, not the tags themselves: the tags stay, no product has one any more. (TRUNCATE
-- tags CASCADE would empty both, with the same documents.) There is no row in such a change to say
-- which products had one: every product is rebuilt.
TRUNCATE product_tags;
