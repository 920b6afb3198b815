"""state.sqlite: a durable store in one file, which daprd can open too.

Read in this order: `store.py` (the loop's side), `commits.py` (who makes a group of writes durable), `writer.py` (group
commit), `epoch.py` (groups that are in the journal first), `recovery.py` (after a crash), `reader.py` (misses),
`file.py` (the file and its schema), `settings.py` (metadata fields). Two threads own the two connections; the loop
never touches SQLite.
"""
