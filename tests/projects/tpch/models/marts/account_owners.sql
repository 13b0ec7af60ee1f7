-- which representative looks after which customer: a building block that a row rule looks into
select c_custkey, 'rep' || (c_custkey % 40) || '@example.com' as owner
from raw_customer
