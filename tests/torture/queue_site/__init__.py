"""What the processes do that share a queue in PostgreSQL. To be imported by these alone: ``setup``
sets up Django.
"""
