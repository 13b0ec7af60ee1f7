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
  CAST(NULL AS VARCHAR) AS "phone"
FROM customers
WHERE
  "region" = 'AMER';

-- user: ida@example.com  mart: people
SELECT
  "id",
  CASE
    WHEN LENGTH("name") > 3
    THEN LEFT("name", 1) || '***' || RIGHT("name", 2)
    WHEN NOT "name" IS NULL
    THEN '***'
  END AS "name",
  KEYED_HASH("email") AS "email",
  TRY(CAST(DATE_TRUNC('year', "born") AS DATE)) AS "born",
  TRY(CAST(DATE_TRUNC('hour', "seen") AS TIMESTAMP)) AS "seen",
  TRY(
    CAST("salary" - (
      "salary" % CAST('0.5' AS DECIMAL(6,2))
    ) - CASE
      WHEN (
        "salary" % CAST('0.5' AS DECIMAL(6,2))
      ) < 0
      THEN CAST('0.5' AS DECIMAL(6,2))
      ELSE 0
    END AS DECIMAL(6,2))
  ) AS "salary",
  TRY(
    CAST("points" - (
      "points" % CAST('10' AS INTEGER)
    ) - CASE
      WHEN (
        "points" % CAST('10' AS INTEGER)
      ) < 0
      THEN CAST('10' AS INTEGER)
      ELSE 0
    END AS INTEGER)
  ) AS "points",
  CAST('-' AS VARCHAR) AS "note"
FROM people;

-- user: ida@example.com  mart: mine
SELECT
  "id",
  "name"
FROM mine
WHERE
  LISTED_FOR_YOU("id");

-- user: ida@example.com  mart: rest
SELECT
  "id",
  "name"
FROM rest
WHERE
  (
    NOT "id" IN (
      SELECT
        "id"
      FROM people
      WHERE
        "points" > 0
    )
    AND "id" IN (1, 3)
  );

-- user: ida@example.com  mart: young
SELECT
  "id"
FROM young
WHERE
  ROW_RULE();
