-- What a mart's name means for each person. The definitions are compared, and each is also run
-- over the raw mart and compared with what the person gets.

-- user: ana@example.com  mart: orders
SELECT
  "id",
  "customer_id",
  "region",
  "amount",
  "note",
  "day"
FROM orders;

-- user: emil@example.com  mart: orders
SELECT
  "id",
  "customer_id",
  "region",
  "amount",
  "note",
  "day"
FROM orders
WHERE
  "region" = 'EMEA';

-- user: nobody@example.com  mart: orders
SELECT
  "id",
  "customer_id",
  "region",
  "amount",
  "note",
  "day"
FROM orders
WHERE
  FALSE;

-- user: amy@example.com  mart: customers
SELECT
  "customer_id",
  "region",
  KEYED_HASH("email") AS "email",
  CAST(NULL AS TEXT) AS "phone"
FROM customers
WHERE
  "region" = 'AMER';
