"""Who sees what, and why: the policy read backwards. Pure, but for the record of what was published."""
