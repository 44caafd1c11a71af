"""Floor 6: which plugin answers a query, and the whole way of one query."""
