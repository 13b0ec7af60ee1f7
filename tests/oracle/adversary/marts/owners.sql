-- who looks after which customer; a building block that row rules look into
from (values (1, 'ent@example.com'), (3, 'ent@example.com'), (5, 'ent@example.com'), (8, 'ent@example.com'),
             (2, 'someone@example.com'), (null, 'ent@example.com')) owners(customer_id, keeper)
