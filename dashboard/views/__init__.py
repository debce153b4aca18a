"""One file a page. A page asks a query, hands the answer to a figure and shows it."""
