"""`tune`: equal budgets of trials per arm, on seeds that no evaluation uses."""
