"""The bridge to heflwr.automon: clients reply to the server's messages what has left its zone, silence is within it."""
