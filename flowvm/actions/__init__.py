"""The actions of ovs-actions(7): one module per family; ``catalog`` lists them by name."""
