"""`noded daprd`: one app behind daprd's own flags, made of the parts the daemon is made of."""
