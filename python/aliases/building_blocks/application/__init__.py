"""Other names: see `building_blocks`."""
