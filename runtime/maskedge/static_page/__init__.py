"""A bundle as a page that fills masks in the reader's own browser, without a server and without a network.

What runs there comes from two npm packages of fixed versions, fetched when the page is written.
"""

from maskedge.static_page.writing import WrittenPage, how_to_open, write_static_page

__all__ = ["WrittenPage", "how_to_open", "write_static_page"]
