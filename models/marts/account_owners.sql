select
    company_id,
    lower(replace(account_owner, ' ', '.')) || '@example.com' as owner
from company_base
