// SPDX-License-Identifier: Apache-2.0

import Testing

/// The program from outside: started as a user starts it, spoken to as a client speaks to it.
///
/// One test after the other: each runs programs beside it and measures them, and two cores are
/// enough for one server and one client.
@Suite(.serialized) enum EndToEnd {}
