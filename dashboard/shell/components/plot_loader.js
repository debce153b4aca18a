// Loads the module that draws charts from this server and hands the component over to it.
function fail(root, error) {
  console.error(error);
  root.dataset.state = "failed";
  root.style.minHeight = "";
  // Once for all charts of a page: the first that fails says it.
  const said = document.querySelector(".brainwhy-chart[data-state=failed] > [role=alert]");
  root.innerHTML = said ? "" : '<p role="alert">Charts could not be drawn: their program did not come from this ' +
    "server. Numbers, tables and downloads are unharmed. Reload the page.</p>";
}

export default async function (component) {
  const root = component.parentElement.querySelector(".brainwhy-chart");
  try {
    const { mount } = await import(new URL(component.data.module, location.href).href);
    return mount(root, component, fail);
  } catch (error) {
    fail(root, error);
    return undefined;
  }
}
