"""Policy-as-code authorization for agents that act and spend: decide, reserve, record, answer."""
