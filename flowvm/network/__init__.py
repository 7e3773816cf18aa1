"""Networks: nodes with bridges, patch ports and tunnels between them."""
