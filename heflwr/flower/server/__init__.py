"""The server's side: a Grid that notes what every message cost, and the views of a run that goes on."""
