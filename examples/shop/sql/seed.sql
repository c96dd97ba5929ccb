-- Rows for the shop: the same ones each time, as many as you ask for.
--
--   SET shop.users = '2000';     -- before this file, in the same session; 20000 if left out
--
-- Everything else follows from the number of users: a tenth as many products, twice as many
-- orders with some 2.5 items each, as many addresses and reviews. No clock and no random(): "chance"
-- is the MD5 of a row's number and a word, so two shops of one size are equal.

CREATE FUNCTION pg_temp.users_wanted() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('shop.users', true), ''), '20000')::integer
$$;
CREATE FUNCTION pg_temp.products_wanted() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT greatest(20, pg_temp.users_wanted() / 10)
$$;
CREATE FUNCTION pg_temp.tags_wanted() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT greatest(12, pg_temp.users_wanted() / 100)
$$;

-- A die with `sides` sides, from 0: the same throw for the same row and word.
CREATE FUNCTION pg_temp.die(row_number bigint, word text, sides integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT (('x' || substr(md5(row_number::text || word), 1, 7))::bit(28)::integer) % sides
$$;
CREATE FUNCTION pg_temp.pick(row_number bigint, word text, choices text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT choices[1 + pg_temp.die(row_number, word, array_length(choices, 1))]
$$;

-- ---------------------------------------------------------------- users

INSERT INTO users (id, email, name, nickname, tier, balance, marketing_opt_in, login_count,
                   signup_ip, created_at, last_seen_at, deleted_at)
SELECT i,
       CASE pg_temp.die(i, 'email', 8)
           WHEN 0 THEN '  User.' || i || '@Example.COM '
           WHEN 1 THEN 'UTENTE+' || i || '@esempio.it'
           ELSE 'user.' || i || '@example.org'
       END,
       pg_temp.pick(i, 'first', ARRAY['Ada', 'Zoë', 'José', 'Łukasz', 'Nguyễn', '美咲', 'Олена',
           'Σοφία', 'عمر', 'Seán', 'Maria', 'Ibrahim', 'Priya', 'Björk', 'Jean-Luc', 'Anna'])
       || ' ' ||
       pg_temp.pick(i, 'last', ARRAY['O''Brien', 'D''Angelo', 'Müller', 'Smith-Jones', '田中',
           'García Márquez', 'Шевченко', 'Παπαδόπουλος', 'Rossi', 'van der Berg', 'Ng',
           'Kowalska', 'Haddad', '"The Hammer" Lee', 'Ferrari', 'Åström']),
       CASE pg_temp.die(i, 'nick', 10)
           WHEN 0 THEN NULL
           WHEN 1 THEN NULL
           WHEN 2 THEN ''
           WHEN 3 THEN '   '
           WHEN 4 THEN '🦊 fox ' || i
           WHEN 5 THEN '  says "hi" \o/ '
           WHEN 6 THEN E'two\nlines\tand a tab'
           ELSE 'nick' || i
       END,
       (enum_range(NULL::user_tier))[1 + pg_temp.die(i, 'tier', 4)],
       CASE pg_temp.die(i, 'balance', 5)
           WHEN 0 THEN 0
           WHEN 1 THEN -(pg_temp.die(i, 'cents', 10000)::numeric / 100)
           ELSE pg_temp.die(i, 'cents', 1000000)::numeric / 100
       END,
       (ARRAY[true, false, NULL])[1 + pg_temp.die(i, 'opt in', 3)],
       pg_temp.die(i, 'logins', 500),
       CASE pg_temp.die(i, 'ip', 6)
           WHEN 0 THEN NULL
           WHEN 1 THEN ('2001:db8::' || to_hex(i % 65536))::inet
           ELSE ('10.' || i / 65536 % 256 || '.' || i / 256 % 256 || '.' || i % 256)::inet
       END,
       timestamptz '2019-03-01 08:00:00+01' + i * interval '97 minutes'
           + pg_temp.die(i, 'microseconds', 3) * interval '0.123456 seconds',
       CASE WHEN pg_temp.die(i, 'seen', 5) > 0 THEN
           timestamp '2025-01-01 00:00:00' + pg_temp.die(i, 'minutes', 500000) * interval '1 minute'
       END,
       CASE WHEN pg_temp.die(i, 'gone', 25) = 0 THEN
           timestamptz '2025-06-01 12:00:00+00' + pg_temp.die(i, 'days', 90) * interval '1 day'
       END
FROM generate_series(1, pg_temp.users_wanted()) AS i;

-- Four users of five have a profile.
INSERT INTO profiles (id, user_id, bio, birthday, website, preferences, avatar)
SELECT row_number() OVER (ORDER BY i), i,
       CASE pg_temp.die(i, 'bio', 4)
           WHEN 0 THEN NULL
           WHEN 1 THEN ''
           WHEN 2 THEN 'Collects ' || pg_temp.pick(i, 'hobby', ARRAY['stamps', 'vinyl', 'café cups',
               'C:\temp files', '"rare" books', '鉄道模型']) || '. Member no. ' || i || '.'
           ELSE E'First line.\nSecond line — with a dash, and a \u00a0 no-break space.'
       END,
       CASE WHEN pg_temp.die(i, 'birthday', 6) > 0 THEN
           date '1940-02-29' + pg_temp.die(i, 'born', 25000)
       END,
       CASE pg_temp.die(i, 'site', 3)
           WHEN 0 THEN NULL
           WHEN 1 THEN ' HTTPS://Example.com/~' || i || ' '
           ELSE 'https://example.net/u/' || i
       END,
       CASE pg_temp.die(i, 'preferences', 5)
           WHEN 0 THEN NULL
           WHEN 1 THEN '[]'
           ELSE jsonb_build_object('theme', pg_temp.pick(i, 'theme', ARRAY['dark', 'light', 'sépia']),
               'newsletter', pg_temp.die(i, 'newsletter', 2) = 0, 'sizes', jsonb_build_array(38, 40.5),
               'budget', pg_temp.die(i, 'budget', 100000)::numeric / 1000, 'note', NULL)
       END,
       CASE pg_temp.die(i, 'avatar', 4)
           WHEN 0 THEN decode(md5(i::text), 'hex')
           WHEN 1 THEN ''::bytea
       END
FROM generate_series(1, pg_temp.users_wanted()) AS i
WHERE pg_temp.die(i, 'profile', 5) > 0;

-- Some users have no address, some have three.
INSERT INTO addresses (id, user_id, kind, street, city, postcode, country, lat, lon, is_default)
SELECT i,
       1 + pg_temp.die(i, 'address of', pg_temp.users_wanted()),
       pg_temp.pick(i, 'kind', ARRAY['home', 'work', 'billing']),
       pg_temp.pick(i, 'street', ARRAY['Via dell''Orso', 'Calle Ñuñoa', 'Straße des 17. Juni',
           'Rue de l''Église', 'ул. Лесная', 'Main "Old" Road']) || ' ' || 1 + pg_temp.die(i, 'no', 200),
       pg_temp.pick(i, 'city', ARRAY['Roma', ' Milano ', 'Genève', 'Köln', 'Kraków', '東京', 'Cork']),
       CASE WHEN pg_temp.die(i, 'postcode', 9) > 0 THEN lpad(pg_temp.die(i, 'code', 99999)::text, 5, '0') END,
       pg_temp.pick(i, 'country', ARRAY['IT', 'CH', 'DE', 'PL', 'JP', 'IE']),
       CASE WHEN pg_temp.die(i, 'lat?', 8) > 0 THEN (pg_temp.die(i, 'lat', 1800001) - 900000) / 10000.0 END,
       CASE WHEN pg_temp.die(i, 'lon?', 8) > 0 THEN (pg_temp.die(i, 'lon', 3600001) - 1800000) / 10000.0 END,
       pg_temp.die(i, 'default', 3) = 0
FROM generate_series(1, pg_temp.users_wanted()) AS i;

-- ---------------------------------------------------------------- catalogue

-- Five departments (1 to 5), each with three aisles (6 to 20), each with three shelves (21 to 65).
INSERT INTO categories (id, parent_id, slug, name, sort_order)
SELECT i,
       CASE WHEN i > 20 THEN 6 + (i - 21) / 3 WHEN i > 5 THEN 1 + (i - 6) / 3 END,
       CASE WHEN i > 20 THEN 'shelf-' WHEN i > 5 THEN 'aisle-' ELSE 'department-' END || i,
       CASE WHEN i > 20 THEN 'Shelf no. ' || i
            WHEN i > 5 THEN pg_temp.pick(i, 'aisle', ARRAY['Men''s', 'Women''s', 'Children''s']) || ' ' || i
            ELSE (ARRAY['Clothes', 'Home & Garden', 'Café', 'Books "& more"', 'Elektronik'])[i]
       END,
       (i % 7 - 3)::smallint
FROM generate_series(1, 65) AS i;

INSERT INTO products (id, category_id, sku, name, description, condition, price, cost, stock,
                      warranty_months, weight_kg, popularity, attributes, dimensions, thumbnail,
                      released_on, created_at, discontinued)
SELECT i,
       CASE WHEN pg_temp.die(i, 'category?', 15) > 0 THEN 1 + pg_temp.die(i, 'category', 65) END,
       CASE pg_temp.die(i, 'sku', 60)
           WHEN 0 THEN 'TEST-' || i
           WHEN 1 THEN '  SP-' || i || ' '
           ELSE pg_temp.pick(i, 'series', ARRAY['AB', 'kx', 'ÖL', 'Z9']) || '-' || lpad(i::text, 6, '0')
       END,
       pg_temp.pick(i, 'adjective', ARRAY['Running', 'Waterproof', 'Organic', 'Königsblau', 'Folding',
           'Père Noël''s', '24" wide', 'Mini']) || ' ' ||
       pg_temp.pick(i, 'noun', ARRAY['shoes', 'jacket', 'café cups', 'chair', 'lamp', 'notebook',
           'kettle', 'backpack', '茶碗', 'cable']) || ' ' || i,
       CASE
           WHEN i % 16 = 0 THEN (SELECT string_agg(md5(i::text || part), ' ') FROM generate_series(1, 150) AS part)
           WHEN pg_temp.die(i, 'description', 6) = 0 THEN NULL
           WHEN pg_temp.die(i, 'description', 6) = 1 THEN ''
           ELSE 'A thing for everyone who needs one. 100% as shown; {no} [returns]. Item ' || i || '.'
       END,
       pg_temp.pick(i, 'condition', ARRAY['new', 'new', 'new', 'refurbished', 'used']),
       CASE pg_temp.die(i, 'price?', 40)
           WHEN 0 THEN NULL
           WHEN 1 THEN -1
           WHEN 2 THEN 0
           ELSE (pg_temp.die(i, 'price', 50000) + 100)::numeric / 100
       END,
       (pg_temp.die(i, 'cost', 20000000))::numeric / 1000000,
       pg_temp.die(i, 'stock', 205) - 5,
       (ARRAY[NULL, 0, 12, 24, 36])[1 + pg_temp.die(i, 'warranty', 5)],
       CASE WHEN pg_temp.die(i, 'weight?', 7) > 0 THEN pg_temp.die(i, 'weight', 100000) / 1000.0 END,
       CASE pg_temp.die(i, 'popularity?', 5)
           WHEN 0 THEN 0
           WHEN 1 THEN -0.0000001 * pg_temp.die(i, 'popularity', 10)
           ELSE pg_temp.die(i, 'popularity', 100000) / 7.0
       END,
       CASE pg_temp.die(i, 'attributes', 4)
           WHEN 0 THEN '{}'
           ELSE jsonb_build_object('colour', pg_temp.pick(i, 'colour', ARRAY['red', 'grün', 'bleu "nuit"']),
               'size', pg_temp.pick(i, 'size', ARRAY['S', 'M', 'L', 'XL']))
       END,
       CASE WHEN pg_temp.die(i, 'dimensions', 3) > 0 THEN
           json_build_object('w', pg_temp.die(i, 'w', 100), 'h', pg_temp.die(i, 'h', 100)::numeric / 10, 'unit', 'cm')
       END,
       CASE pg_temp.die(i, 'thumbnail', 3)
           WHEN 0 THEN decode(repeat(md5(i::text), 5), 'hex')  -- 80 bytes: base64 longer than a line
       END,
       CASE WHEN pg_temp.die(i, 'released?', 9) > 0 THEN date '2010-01-01' + pg_temp.die(i, 'released', 5500) END,
       timestamptz '2018-01-01 00:00:00+00' + i * interval '13 hours 7.25 seconds',
       pg_temp.die(i, 'discontinued', 20) = 0
FROM generate_series(1, pg_temp.products_wanted()) AS i;

-- One product of ten has a successor: some in chains, some discontinued themselves.
UPDATE products
SET successor_id = 1 + (id + pg_temp.die(id, 'successor', 7)) % pg_temp.products_wanted()
WHERE pg_temp.die(id, 'successor?', 10) = 0;

INSERT INTO tags (id, name, colour)
SELECT i,
       CASE WHEN i % 4 = 0 THEN 'season-' || (ARRAY['spring', 'été', 'autumn', 'winter'])[1 + i / 4 % 4] || '-' || i
            ELSE pg_temp.pick(i, 'tag', ARRAY['sale', 'bestseller', 'vegan', 'it''s new', 'limited']) || '-' || i
       END,
       CASE pg_temp.die(i, 'colour', 4) WHEN 0 THEN NULL WHEN 1 THEN ' RED ' WHEN 2 THEN '' ELSE 'Teal' END
FROM generate_series(1, pg_temp.tags_wanted()) AS i;

-- Three tags a product, where two of them are not the same; some products have none.
INSERT INTO product_tags (product_id, tag_id)
SELECT p, 1 + pg_temp.die(p, 'tag ' || n, pg_temp.tags_wanted())
FROM generate_series(1, pg_temp.products_wanted()) AS p, generate_series(1, 3) AS n
WHERE pg_temp.die(p, 'no tags', 30) > 0
ON CONFLICT DO NOTHING;

-- ---------------------------------------------------------------- orders

-- The items come first, for an order's total is made of them. Product 7 is the bestseller: it is
-- the first item of each sixtieth order. Each 97th order is empty.
CREATE TEMPORARY TABLE seed_items ON COMMIT PRESERVE ROWS AS
SELECT o * 10 + line AS id, o AS order_id, line,
       CASE WHEN line = 1 AND o % 60 = 0 THEN 7
            WHEN pg_temp.die(o * 10 + line, 'product?', 200) > 0
            THEN 1 + pg_temp.die(o * 10 + line, 'product', pg_temp.products_wanted())
       END AS product_id,
       pg_temp.die(o * 10 + line, 'quantity', 5) AS quantity,
       (pg_temp.die(o * 10 + line, 'unit price', 5000000))::numeric(12, 4) / 10000 AS unit_price,
       (ARRAY[NULL, NULL, 0, 0.1, 0.3333])[1 + pg_temp.die(o * 10 + line, 'discount', 5)] AS discount,
       pg_temp.die(o * 10 + line, 'returned', 25) = 0 AS returned
FROM generate_series(1, 2 * pg_temp.users_wanted()) AS o,
     LATERAL generate_series(1, 1 + pg_temp.die(o, 'lines', 4)) AS line
WHERE o % 97 <> 0;

INSERT INTO orders (id, user_id, shipping_address_id, reference, status, total, coupon, note, carrier,
                    tracking_code, shipped_at, placed_at)
SELECT i,
       1 + pg_temp.die(i, 'order of', pg_temp.users_wanted()),
       CASE WHEN pg_temp.die(i, 'address?', 12) > 0 THEN 1 + pg_temp.die(i, 'address', pg_temp.users_wanted()) END,
       md5('order ' || i)::uuid,
       status,
       CASE WHEN i % 211 = 0 THEN -1 ELSE 1 END * coalesce(sums.total, 0),
       CASE pg_temp.die(i, 'coupon', 6) WHEN 0 THEN ' Spring-10 ' WHEN 1 THEN 'ÉTÉ' WHEN 2 THEN '' END,
       CASE pg_temp.die(i, 'note', 5)
           WHEN 0 THEN 'Ring twice; "beware of the dog" \ it''s friendly 🐕'
           WHEN 1 THEN ''
       END,
       CASE WHEN status IN ('shipped', 'delivered') THEN pg_temp.pick(i, 'carrier', ARRAY['DHL', 'Poste', 'UPS']) END,
       CASE WHEN status IN ('shipped', 'delivered') THEN 'TR-' || lpad(i::text, 8, '0') || '/' || i % 10 END,
       CASE WHEN status IN ('shipped', 'delivered') THEN placed_at + interval '26 hours 0.5 seconds' END,
       placed_at
FROM generate_series(1, 2 * pg_temp.users_wanted()) AS i
CROSS JOIN LATERAL (
    SELECT (ARRAY['draft', 'placed', 'paid', 'paid', 'shipped', 'shipped', 'delivered', 'delivered', 'delivered',
                  'delivered', 'delivered', 'cancelled'])[1 + pg_temp.die(i, 'status', 12)]::order_status AS status,
           -- Whole days, so that one user may have two orders of the same moment.
           timestamptz '2023-01-01 09:30:00+00' + pg_temp.die(i, 'day', 900) * interval '1 day' AS placed_at
) AS drawn
LEFT JOIN (
    SELECT order_id, round(sum(quantity * unit_price * (1 - coalesce(discount, 0))), 2) AS total
    FROM seed_items
    GROUP BY order_id
) AS sums ON sums.order_id = i;

INSERT INTO order_items (id, order_id, product_id, quantity, unit_price, discount, returned)
SELECT row_number() OVER (ORDER BY id), order_id, product_id, quantity, unit_price, discount, returned
FROM seed_items;

DROP TABLE seed_items;

INSERT INTO reviews (id, product_id, user_id, stars, title, body, visible, written_at)
SELECT md5('review ' || i)::uuid,
       1 + pg_temp.die(i, 'review of', pg_temp.products_wanted()),
       CASE WHEN pg_temp.die(i, 'anonymous', 10) > 0 THEN 1 + pg_temp.die(i, 'review by', pg_temp.users_wanted()) END,
       1 + pg_temp.die(i, 'stars', 5),
       CASE pg_temp.die(i, 'title', 5)
           WHEN 0 THEN NULL
           WHEN 1 THEN ''
           ELSE pg_temp.pick(i, 'verdict', ARRAY['Great', 'Così così', 'Don''t buy', '最高', 'Meh', '"Fine"'])
       END,
       CASE pg_temp.die(i, 'body', 6)
           WHEN 0 THEN NULL
           ELSE '  Used it for ' || pg_temp.die(i, 'months', 24) || ' months. Would ' ||
                pg_temp.pick(i, 'again', ARRAY['', 'not ']) || 'buy again.  '
       END,
       pg_temp.die(i, 'visible', 12) > 0,
       -- Whole hours, so that some reviews of one product are equally new.
       timestamp '2024-01-01 00:00:00' + pg_temp.die(i, 'hour', 3000) * interval '1 hour'
FROM generate_series(1, pg_temp.users_wanted()) AS i;

-- ---------------------------------------------------------------- loose ends

-- The rows above brought their own keys; the next row shall have the next one.
SELECT setval(pg_get_serial_sequence(name, 'id'), highest)
FROM (
    SELECT 'users' AS name, max(id) AS highest FROM users
    UNION ALL SELECT 'profiles', max(id) FROM profiles
    UNION ALL SELECT 'addresses', max(id) FROM addresses
    UNION ALL SELECT 'categories', max(id) FROM categories
    UNION ALL SELECT 'products', max(id) FROM products
    UNION ALL SELECT 'tags', max(id) FROM tags
    UNION ALL SELECT 'orders', max(id) FROM orders
    UNION ALL SELECT 'order_items', max(id) FROM order_items
) AS used
WHERE highest IS NOT NULL;

DROP FUNCTION pg_temp.pick, pg_temp.die, pg_temp.tags_wanted, pg_temp.products_wanted, pg_temp.users_wanted;

-- Fresh statistics, as autovacuum would have them in a minute.
ANALYZE users, profiles, addresses, categories, products, tags, product_tags, orders, order_items, reviews;
