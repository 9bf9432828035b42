"""What installs a bundle on a board."""
