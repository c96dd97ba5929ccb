-- Every document that must be in the index `orders` now: (id text, document jsonb).
--
-- Written by hand from orders.schema.yml, for checking flusso: it shares nothing with flusso but the
-- tables. The rules stand in the README beside this folder.

WITH goods AS (
    SELECT p.id,
           jsonb_build_object(
               'id', p.id,
               'sku', btrim(p.sku),
               'name', p.name,
               'category', CASE WHEN c.id IS NOT NULL THEN
                   jsonb_build_object(
                       'slug', c.slug,
                       'parent', CASE WHEN up.id IS NOT NULL
                                      THEN jsonb_build_object('slug', up.slug) END) END) AS shown
    FROM products p
    LEFT JOIN categories c ON c.id = p.category_id
    LEFT JOIN categories up ON up.id = c.parent_id
),
baskets AS (
    SELECT i.order_id,
           jsonb_agg(
               jsonb_build_object(
                   'id', i.id,
                   'quantity', i.quantity,
                   'unitPrice', i.unit_price,
                   'discount', coalesce(i.discount, 0),
                   'returned', i.returned,
                   'product', goods.shown)
               ORDER BY i.id) AS items,
           jsonb_agg(i.id ORDER BY i.id) AS ids,
           count(*) AS lines,
           sum(i.quantity) FILTER (WHERE NOT i.returned) AS units,
           max(i.unit_price) AS dearest,
           min(i.unit_price) AS cheapest,
           avg(i.quantity)::double precision AS mean_quantity
    FROM order_items i
    LEFT JOIN goods ON goods.id = i.product_id
    GROUP BY i.order_id
)
SELECT o.id::text AS id,
       jsonb_build_object(
           'id', o.id,
           'docType', 'order',
           'reference', o.reference,
           'status', o.status,
           'total', o.total,
           'coupon', lower(btrim(o.coupon)),
           'note', o.note,
           'placedAt', (to_jsonb(o.placed_at AT TIME ZONE 'UTC') #>> '{}') || '+00:00',
           'delivery', jsonb_build_object(
               'carrier', coalesce(lower(o.carrier), 'pickup'),
               'trackingCode', o.tracking_code,
               'shippedAt', (to_jsonb(o.shipped_at AT TIME ZONE 'UTC') #>> '{}') || '+00:00'),
           'customer', CASE WHEN u.id IS NOT NULL THEN
               jsonb_build_object(
                   'id', u.id,
                   'name', u.name,
                   'email', lower(btrim(u.email)),
                   'tier', u.tier,
                   'profile', CASE WHEN f.id IS NOT NULL
                                   THEN jsonb_build_object('birthday', f.birthday) END) END,
           'shipTo', CASE WHEN a.id IS NOT NULL THEN
               jsonb_build_object(
                   'street', a.street,
                   'city', btrim(a.city),
                   'country', a.country,
                   'place', CASE WHEN a.lat IS NOT NULL AND a.lon IS NOT NULL
                                 THEN jsonb_build_object('lat', a.lat, 'lon', a.lon) END) END,
           'items', coalesce(b.items, '[]'),
           'itemCount', coalesce(b.lines, 0),
           'units', b.units,
           'dearest', b.dearest,
           'cheapest', b.cheapest,
           'meanQuantity', b.mean_quantity,
           'itemIds', coalesce(b.ids, '[]')) AS document
FROM orders o
LEFT JOIN users u ON u.id = o.user_id AND u.deleted_at IS NULL
LEFT JOIN profiles f ON f.user_id = u.id
LEFT JOIN addresses a ON a.id = o.shipping_address_id
LEFT JOIN baskets b ON b.order_id = o.id
WHERE o.status <> 'draft'
  AND o.total >= 0
