-- Every document that must be in the index `products` now: (id text, document jsonb).
--
-- Written by hand from products.schema.yml, for checking flusso: it shares nothing with flusso but the
-- tables. The rules stand in the README beside this folder.

WITH tag_uses AS (
    SELECT tag_id, count(*) AS products FROM product_tags GROUP BY tag_id
),
labels AS (
    -- Everything about a product's tags: by name for itself, by key where it is a successor.
    SELECT pt.product_id,
           jsonb_agg(
               jsonb_build_object(
                   'id', t.id,
                   'name', t.name,
                   'colour', coalesce(btrim(lower(t.colour)), 'none'),
                   'productCount', tag_uses.products)
               ORDER BY t.name) AS by_name,
           jsonb_agg(jsonb_build_object('name', t.name) ORDER BY t.id) AS by_key,
           jsonb_agg(t.id ORDER BY t.id) AS ids,
           count(*) FILTER (WHERE starts_with(t.name, 'season-')) AS seasons
    FROM product_tags pt
    JOIN tags t ON t.id = pt.tag_id
    JOIN tag_uses ON tag_uses.tag_id = t.id
    GROUP BY pt.product_id
),
shelves AS (
    -- A category with the two above it.
    SELECT c.id,
           jsonb_build_object(
               'id', c.id,
               'slug', c.slug,
               'name', c.name,
               'sortOrder', c.sort_order,
               'parent', CASE WHEN up.id IS NOT NULL THEN
                   jsonb_build_object(
                       'slug', up.slug,
                       'name', up.name,
                       'parent', CASE WHEN top.id IS NOT NULL
                                      THEN jsonb_build_object('slug', top.slug) END) END) AS shown
    FROM categories c
    LEFT JOIN categories up ON up.id = c.parent_id
    LEFT JOIN categories top ON top.id = up.parent_id
),
authors AS (
    SELECT u.id,
           jsonb_build_object(
               'name', u.name,
               'tier', u.tier,
               'profile', CASE WHEN f.id IS NOT NULL
                               THEN jsonb_build_object('website', f.website, 'birthday', f.birthday) END) AS shown
    FROM users u
    LEFT JOIN profiles f ON f.user_id = u.id
    WHERE u.deleted_at IS NULL
),
newest AS (
    SELECT product_id, jsonb_agg(shown ORDER BY age) AS list
    FROM (
        SELECT r.product_id,
               row_number() OVER (PARTITION BY r.product_id ORDER BY r.written_at DESC, r.id) AS age,
               jsonb_build_object(
                   'id', r.id,
                   'stars', r.stars,
                   'title', r.title,
                   'body', btrim(r.body),
                   'writtenAt', r.written_at,
                   'author', a.shown) AS shown
        FROM reviews r
        LEFT JOIN authors a ON a.id = r.user_id
        WHERE r.visible
    ) AS aged
    WHERE age <= 5
    GROUP BY product_id
),
verdicts AS (
    SELECT product_id,
           count(*) FILTER (WHERE visible) AS visible,
           count(*) FILTER (WHERE stars < 3 AND user_id IS NOT NULL) AS complaints,
           (avg(stars) FILTER (WHERE visible))::double precision AS mean_stars,
           max(written_at) AS last_at
    FROM reviews
    GROUP BY product_id
),
sales AS (
    SELECT product_id,
           sum(quantity) FILTER (WHERE NOT returned) AS units,
           min(unit_price) FILTER (WHERE quantity > 0) AS lowest
    FROM order_items
    WHERE product_id IS NOT NULL
    GROUP BY product_id
)
SELECT p.id::text AS id,
       jsonb_build_object(
           'id', p.id,
           'docType', 'product',
           'sku', btrim(p.sku),
           'name', p.name,
           'description', coalesce(p.description, ''),
           'condition', p.condition,
           'price', p.price,
           'cost', p.cost,
           'stock', p.stock,
           'warrantyMonths', coalesce(p.warranty_months, 24),
           'weightKg', p.weight_kg,
           'popularity', p.popularity,
           'attributes', p.attributes,
           'dimensions', p.dimensions::jsonb,
           'thumbnail', translate(encode(p.thumbnail, 'base64'), E'\n', ''),
           'releasedOn', p.released_on,
           'createdAt', (to_jsonb(p.created_at AT TIME ZONE 'UTC') #>> '{}') || '+00:00',
           'category', shelves.shown,
           'successor', CASE WHEN s.id IS NOT NULL THEN
               jsonb_build_object(
                   'id', s.id,
                   'name', s.name,
                   'price', s.price,
                   'tags', coalesce(theirs.by_key, '[]')) END,
           'tags', coalesce(ours.by_name, '[]'),
           'reviews', coalesce(newest.list, '[]'),
           'reviewCount', coalesce(verdicts.visible, 0),
           'complaintCount', coalesce(verdicts.complaints, 0),
           'meanStars', verdicts.mean_stars,
           'soldUnits', sales.units,
           'lowestSoldPrice', sales.lowest,
           'lastReviewAt', verdicts.last_at,
           'seasonTagCount', coalesce(ours.seasons, 0),
           'tagIds', coalesce(ours.ids, '[]')) AS document
FROM products p
LEFT JOIN shelves ON shelves.id = p.category_id
LEFT JOIN products s ON s.id = p.successor_id AND NOT s.discontinued
LEFT JOIN labels ours ON ours.product_id = p.id
LEFT JOIN labels theirs ON theirs.product_id = s.id
LEFT JOIN newest ON newest.product_id = p.id
LEFT JOIN verdicts ON verdicts.product_id = p.id
LEFT JOIN sales ON sales.product_id = p.id
WHERE NOT p.discontinued
  AND p.price >= 0
  AND NOT starts_with(p.sku, 'TEST-')
