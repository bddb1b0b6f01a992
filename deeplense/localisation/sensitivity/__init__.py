"""One image and a run come in; a map of the masses that would be found in it goes out (`--sensitivity-map`)."""
