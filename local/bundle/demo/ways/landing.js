// The page at a redirect address where no button is: hands 360dialog's answer to the page that opened the popup.
if (window.opener) {
  // The exact origin: a page of anybody else that opened this one gets nothing.
  window.opener.postMessage(location.search, location.origin);
  window.close();
} else {
  document.querySelector('#closing').hidden = true;
  document.querySelector('#alone').hidden = false;
}
