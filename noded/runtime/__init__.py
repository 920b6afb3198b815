"""What lives on between requests: subscriptions, deliveries."""
