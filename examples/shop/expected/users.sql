-- Every document that must be in the index `users` now: (id text, document jsonb).
--
-- Written by hand from users.schema.yml, for checking flusso: it shares nothing with flusso but the
-- tables. The rules that all three of these files follow stand in the README beside this folder.
-- The result does not depend on the session's TimeZone or DateStyle.

WITH bought AS (
    -- Each order's items, as the last order shows them.
    SELECT i.order_id,
           jsonb_agg(
               jsonb_build_object(
                   'quantity', i.quantity,
                   'product', CASE WHEN p.id IS NOT NULL
                                   THEN jsonb_build_object('sku', p.sku, 'name', p.name) END)
               ORDER BY i.id) AS items
    FROM order_items i
    LEFT JOIN products p ON p.id = i.product_id
    GROUP BY i.order_id
),
last_orders AS (
    SELECT DISTINCT ON (o.user_id)
           o.user_id,
           jsonb_build_object(
               'reference', o.reference,
               'status', o.status,
               'total', o.total,
               'placedAt', (to_jsonb(o.placed_at AT TIME ZONE 'UTC') #>> '{}') || '+00:00',
               'items', coalesce(b.items, '[]')) AS shown
    FROM orders o
    LEFT JOIN bought b ON b.order_id = o.id
    WHERE o.status <> 'draft' AND o.status <> 'cancelled'
    ORDER BY o.user_id, o.placed_at DESC, o.id DESC
),
money AS (
    SELECT user_id,
           count(*) FILTER (WHERE status <> 'draft' AND status <> 'cancelled') AS order_count,
           sum(total) FILTER (WHERE status IN ('paid', 'shipped', 'delivered')) AS lifetime_value,
           (avg(total) FILTER (WHERE status IN ('paid', 'shipped', 'delivered')))::double precision AS average_order,
           (to_jsonb(min(placed_at) AT TIME ZONE 'UTC') #>> '{}') || '+00:00' AS first_order_at,
           max(total) FILTER (WHERE status <> 'draft') AS largest_order
    FROM orders
    GROUP BY user_id
),
homes AS (
    SELECT user_id,
           jsonb_agg(
               jsonb_build_object(
                   'kind', kind,
                   'street', street,
                   'city', btrim(city),
                   'postcode', postcode,
                   'country', country,
                   'place', CASE WHEN lat IS NOT NULL AND lon IS NOT NULL
                                 THEN jsonb_build_object('lat', lat, 'lon', lon) END,
                   'isDefault', is_default)
               ORDER BY id) AS list
    FROM addresses
    GROUP BY user_id
),
opinions AS (
    SELECT user_id,
           jsonb_agg(id ORDER BY id) AS ids,
           jsonb_agg(shown ORDER BY age) FILTER (WHERE age <= 3) AS newest
    FROM (
        SELECT r.user_id, r.id,
               row_number() OVER (PARTITION BY r.user_id ORDER BY r.written_at DESC, r.id) AS age,
               jsonb_build_object(
                   'stars', r.stars,
                   'title', coalesce(r.title, '(no title)'),
                   'writtenAt', r.written_at,
                   'product', jsonb_build_object(
                       'name', p.name,
                       'category', CASE WHEN c.id IS NOT NULL THEN jsonb_build_object('slug', c.slug) END)) AS shown
        FROM reviews r
        JOIN products p ON p.id = r.product_id
        LEFT JOIN categories c ON c.id = p.category_id
        WHERE r.user_id IS NOT NULL
    ) AS aged
    GROUP BY user_id
)
SELECT u.id::text AS id,
       jsonb_build_object(
           'id', u.id,
           'docType', 'user',
           'email', lower(btrim(u.email)),
           'name', u.name,
           'nickname', coalesce(btrim(u.nickname), 'anonymous'),
           'tier', u.tier,
           'balance', u.balance,
           'marketingOptIn', u.marketing_opt_in,
           'loginCount', u.login_count,
           'signupIp', host(u.signup_ip),
           'createdAt', (to_jsonb(u.created_at AT TIME ZONE 'UTC') #>> '{}') || '+00:00',
           'lastSeenAt', u.last_seen_at,
           'profile', CASE WHEN f.id IS NOT NULL THEN
               jsonb_build_object(
                   'bio', f.bio,
                   'birthday', f.birthday,
                   'website', lower(btrim(f.website)),
                   'preferences', f.preferences,
                   'avatar', translate(encode(f.avatar, 'base64'), E'\n', '')) END,
           'lastOrder', l.shown,
           'addresses', coalesce(h.list, '[]'),
           'recentReviews', coalesce(o.newest, '[]'),
           'orderCount', coalesce(m.order_count, 0),
           'lifetimeValue', m.lifetime_value,
           'averageOrder', m.average_order,
           'firstOrderAt', m.first_order_at,
           'largestOrder', m.largest_order,
           'reviewIds', coalesce(o.ids, '[]')) AS document
FROM users u
LEFT JOIN profiles f ON f.user_id = u.id
LEFT JOIN last_orders l ON l.user_id = u.id
LEFT JOIN money m ON m.user_id = u.id
LEFT JOIN homes h ON h.user_id = u.id
LEFT JOIN opinions o ON o.user_id = u.id
WHERE u.deleted_at IS NULL
