// Loads the viewer's modules from this server and hands the component over to them.
export default async function (component) {
  const root = component.parentElement.querySelector(".viewer");
  try {
    const { mount } = await import(new URL(component.data.module, location.href).href);
    return mount(root, component);
  } catch (error) {
    console.error(error);
    root.dataset.state = "error";
    root.innerHTML =
      '<p class="message" role="alert">The viewer could not be loaded from this server. The results are unharmed. ' +
      "Reload the page; if that does not help, the server was started without its routes: use " +
      "<code>streamlit run dashboard/app.py</code>.</p>";
    return undefined;
  }
}
