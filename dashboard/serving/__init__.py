"""What a server for others needs, below all pages: its settings, roles, logins, and the file that it keeps them in."""
