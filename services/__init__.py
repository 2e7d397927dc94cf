"""The five services; they meet only on the wire and never import each other."""
