"""What is followed from elsewhere: policy files now, a control plane later."""
