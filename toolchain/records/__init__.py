"""The frozen records that stages hand on; nothing here computes."""
