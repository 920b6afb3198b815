"""Who an app is, what its names are, what it may use. Pure logic; imports component contracts only."""
