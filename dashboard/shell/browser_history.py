"""One entry of the browser's history for each page.

Streamlit adds an entry for every control that changes the address, and another where a page writes its address for the
first time, so that Back seems to do nothing. Here a page has one entry, its last state.
"""

SCRIPT = """<script>
if (!window.brainwhyHistory) {
    window.brainwhyHistory = window.history.pushState.bind(window.history);
    window.history.pushState = (state, title, url) => {
        const samePage = new URL(url ?? "", window.location.href).pathname === window.location.pathname;
        if (samePage) window.history.replaceState(state, title, url);
        else window.brainwhyHistory(state, title, url);
    };
}
</script>"""
