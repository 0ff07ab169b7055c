"""The demo: in two minutes a Claude call becomes dollars, an alert and a notification."""
