"""Floor 2: keeping things. Rows behind one port, raw outputs in a content-addressed blob store."""
