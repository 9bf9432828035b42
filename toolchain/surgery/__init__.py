"""Physical removal of channels that do not depend on the image, with nothing lost."""
