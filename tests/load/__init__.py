"""Mixed load on one project: many people, kills, publishes, rollbacks; nobody innocent may notice.

`python -m tests.load --minutes 120 --clients 32`
"""
