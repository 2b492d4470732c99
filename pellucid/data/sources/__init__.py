"""Which pictures there are, however they lie: folders, tables, arrays, archives."""
