"""One module a screen; screens show what the feed tells them and fetch nothing themselves."""
