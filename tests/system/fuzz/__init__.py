"""
Whatever arrives, or is configured: no crash, no hang, no more memory than allowed.

    python -m fuzz --minutes 10        in the folder `tests/system`

`pytest` tries the same few hundred inputs each time; the command tries others for as
long as it is told to, and ends at the first that breaks a promise, which it prints.

* bounds                   the guards: an alarm, a limit of memory, as many examples
* test_fuzz_wire           answers of the API, from bytes to the messages about them
* test_fuzz_configuration  files and variables
* test_fuzz_templates      users' templates
* test_fuzz_matchers       globs and regular expressions, and the texts they meet
"""
