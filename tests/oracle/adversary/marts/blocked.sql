-- whom not to show; a building block that row rules look into
from (values (2, 3), (4, 1), (6, 2), (11, 5)) blocked(customer_id, level)
