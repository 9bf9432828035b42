"""Running detectors of any kind over photos: what finds faces, by which protocol, how often."""
