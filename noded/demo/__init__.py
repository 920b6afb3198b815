"""`noded demo`: one daemon, two apps that know nothing of each other, and what Dapr's API does between them."""
