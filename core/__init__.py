"""The floor that every other package stands on; it imports none of them."""
