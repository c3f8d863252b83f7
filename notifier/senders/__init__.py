"""
The edge out: a rendered message goes to a named destination, an outcome comes back.

* sender    what the loops use: `Sender`, `open_sender`, `check`
* lane      one destination's way out: what every kind of it can do
  - terminal  writes to a stream
  - webhook, hook_lane   our own scheme, natively
  - registry, plugin_lane  everything else, by a plugin of Apprise
* exchange  what was seen on the wire during one attempt
* outcome   what that means; pure. `dialect` knows what single services say
* http_seam, mail_seam   where Apprise's plugins meet the network
* egress    which addresses may be connected to
* redact    the secrets of a destination's URL
* scheme    our webhook for Apprise alone, without this program around it
"""
