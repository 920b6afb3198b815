"""One file per building block; transport-neutral operations with their HTTP and gRPC faces."""
