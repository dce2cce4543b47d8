package stack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// show is a route in a few words.
func show(e RouteEntry) string {
	kind := map[RouteType]string{RouteUnicast: "", RouteLocal: "local ", RouteBroadcast: "broadcast ", RouteMulticast: "multicast "}[e.Type]
	s := fmt.Sprintf("%s%v dev %d", kind, e.Destination, e.NIC)
	if e.Gateway.IsValid() {
		s += " via " + e.Gateway.String()
	}
	if e.Source.IsValid() {
		s += " src " + e.Source.String()
	}
	if e.Metric != 0 {
		s += fmt.Sprint(" metric ", e.Metric)
	}
	return s
}

// tableOf lists the routes of a table that a NIC has.
func tableOf(s *Stack, table uint32, nic tcpip.NICID) []string {
	var list []string
	for _, e := range s.Routes() {
		if e.Table == table && e.NIC == nic {
			list = append(list, show(e))
		}
	}
	slices.Sort(list)
	return list
}

func wantRoutes(t *testing.T, s *Stack, table uint32, nic tcpip.NICID, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := tableOf(s, table, nic); !slices.Equal(got, want) {
		t.Errorf("table %d has\n\t%s\nwant\n\t%s", table, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// As `ip route show table all` shows it for the same addresses in Linux.
func TestAddressesMakeRoutes(t *testing.T) {
	w := newWorld(t)
	add(t, w.lo, "127.0.0.1/8", "::1/128")
	wantRoutes(t, w.s, TableLocal, 1, "local 127.0.0.0/8 dev 1 src 127.0.0.1", "local 127.0.0.1/32 dev 1 src 127.0.0.1",
		"broadcast 127.255.255.255/32 dev 1 src 127.0.0.1", "local ::1/128 dev 1")
	wantRoutes(t, w.s, TableMain, 1) // as of the ::1 that lo has of itself

	add(t, w.eth, "10.0.0.1/24", "2001:db8::1/64")
	main := []string{"10.0.0.0/24 dev 2 src 10.0.0.1", "2001:db8::/64 dev 2 metric 256"}
	local := []string{"local 10.0.0.1/32 dev 2 src 10.0.0.1", "broadcast 10.0.0.255/32 dev 2 src 10.0.0.1",
		"local 2001:db8::1/128 dev 2", "multicast ff00::/8 dev 2 metric 256"}
	wantRoutes(t, w.s, TableMain, 2, main...)
	wantRoutes(t, w.s, TableLocal, 2, local...)

	// A second address of the same prefix is local, no more.
	add(t, w.eth, "10.0.0.2/24")
	wantRoutes(t, w.s, TableMain, 2, main...)
	wantRoutes(t, w.s, TableLocal, 2, append(local, "local 10.0.0.2/32 dev 2 src 10.0.0.2")...)
	// When the first goes, it takes over.
	if err := w.eth.RemoveAddress(prefix("10.0.0.1/24")); err != nil {
		t.Fatal(err)
	}
	wantRoutes(t, w.s, TableMain, 2, "10.0.0.0/24 dev 2 src 10.0.0.2", main[1])
	wantRoutes(t, w.s, TableLocal, 2, "local 10.0.0.2/32 dev 2 src 10.0.0.2", "broadcast 10.0.0.255/32 dev 2 src 10.0.0.2", local[2], local[3])
	if err := w.eth.RemoveAddress(prefix("10.0.0.1/24")); err != unix.EADDRNOTAVAIL {
		t.Errorf("again: %v", err)
	}

	// Down and up.
	w.eth.SetUp(false)
	wantRoutes(t, w.s, TableMain, 2)
	wantRoutes(t, w.s, TableLocal, 2, "local 10.0.0.2/32 dev 2 src 10.0.0.2")
	w.eth.SetUp(true)
	wantRoutes(t, w.s, TableMain, 2, "10.0.0.0/24 dev 2 src 10.0.0.2", main[1])
	wantRoutes(t, w.s, TableLocal, 2, "local 10.0.0.2/32 dev 2 src 10.0.0.2", "broadcast 10.0.0.255/32 dev 2 src 10.0.0.2", local[2], local[3])
}

func TestRoutesOfUnusualAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		a           Address
		main, local []string
	}{
		"host":           {Address{Prefix: prefix("10.0.0.1/32")}, nil, []string{"local 10.0.0.1/32 dev 2 src 10.0.0.1"}},
		"two hosts":      {Address{Prefix: prefix("10.0.0.0/31")}, []string{"10.0.0.0/31 dev 2 src 10.0.0.0"}, []string{"local 10.0.0.0/32 dev 2 src 10.0.0.0"}},
		"no prefix":      {Address{Prefix: prefix("10.0.0.1/24"), NoPrefixRoute: true}, nil, []string{"broadcast 10.0.0.255/32 dev 2 src 10.0.0.1", "local 10.0.0.1/32 dev 2 src 10.0.0.1"}},
		"point to point": {Address{Prefix: prefix("10.0.0.1/32"), Peer: addr("10.9.9.9")}, nil, []string{"local 10.0.0.1/32 dev 2 src 10.0.0.1"}},
		"peer's net":     {Address{Prefix: prefix("10.0.0.1/24"), Peer: addr("10.9.9.9"), Broadcast: addr("10.0.0.254")}, []string{"10.9.9.0/24 dev 2 src 10.0.0.1"}, []string{"broadcast 10.0.0.254/32 dev 2 src 10.0.0.1", "broadcast 10.0.0.255/32 dev 2 src 10.0.0.1", "local 10.0.0.1/32 dev 2 src 10.0.0.1"}},
		"tentative":      {Address{Prefix: prefix("2001:db8::1/64"), Tentative: true}, []string{"2001:db8::/64 dev 2 metric 256"}, nil},
		"duplicate":      {Address{Prefix: prefix("2001:db8::1/64"), Duplicate: true}, []string{"2001:db8::/64 dev 2 metric 256"}, nil},
		"no prefix, v6":  {Address{Prefix: prefix("2001:db8::1/64"), NoPrefixRoute: true}, nil, []string{"local 2001:db8::1/128 dev 2"}},
	} {
		w := newWorld(t)
		if err := w.eth.AddAddress(c.a); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantRoutes(t, w.s, TableMain, 2, c.main...)
		wantRoutes(t, w.s, TableLocal, 2, append(c.local, "multicast ff00::/8 dev 2 metric 256")...)
	}
}

func TestDuplicateAddressDetectionMakesAnAddressLocal(t *testing.T) {
	w := newWorld(t)
	w.eth.AddAddress(Address{Prefix: prefix("2001:db8::1/64"), Tentative: true})
	if w.s.IsLocal(0, here6) || w.eth.HasAddress(here6) {
		t.Error("a tentative address is local")
	}
	if a, ok := w.eth.Address(here6); !ok || !a.Tentative {
		t.Errorf("it is %+v, %v", a, ok)
	}
	if !w.eth.UpdateAddress(here6, func(a *Address) { a.Tentative = false }) {
		t.Error("UpdateAddress = false")
	}
	if !w.s.IsLocal(0, here6) || !w.s.IsLocal(2, here6) || w.s.IsLocal(3, here6) || !w.eth.HasAddress(here6) {
		t.Error("it is not local")
	}
	if w.eth.UpdateAddress(far6, func(*Address) { t.Error("f was called") }) {
		t.Error("UpdateAddress of what is not there = true")
	}
}

func TestWhatIsRemovedByHandStaysRemoved(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	if err := w.s.RemoveRoute(RouteEntry{Destination: prefix("10.0.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	add(t, w.eth, "10.0.5.1/24")
	wantRoutes(t, w.s, TableMain, 2, "10.0.5.0/24 dev 2 src 10.0.5.1")
}

func TestAddRoute(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24", "2001:db8::1/64")
	down, _ := w.s.CreateNIC(9, "down", &fakeLink{caps: CapResolution, mtu: 1500})
	for name, c := range map[string]struct {
		e    RouteEntry
		want error
	}{
		"by a neighbour":            {RouteEntry{Destination: prefix("10.1.0.0/16"), Gateway: addr("10.0.0.9")}, nil},
		"the same again":            {RouteEntry{Destination: prefix("10.0.0.0/24"), NIC: 2}, unix.EEXIST},
		"other metric":              {RouteEntry{Destination: prefix("10.0.0.0/24"), NIC: 2, Metric: 5}, nil},
		"a gateway far away":        {RouteEntry{Destination: prefix("10.2.0.0/16"), Gateway: addr("192.0.2.1")}, unix.ENETUNREACH},
		"far away, but on the link": {RouteEntry{Destination: prefix("10.2.0.0/16"), Gateway: addr("192.0.2.1"), NIC: 2, OnLink: true}, nil},
		"on which link?":            {RouteEntry{Destination: prefix("10.3.0.0/16"), Gateway: addr("192.0.2.1"), OnLink: true}, unix.ENODEV},
		"by ourselves":              {RouteEntry{Destination: prefix("10.3.0.0/16"), Gateway: here}, unix.EINVAL},
		"by another interface":      {RouteEntry{Destination: prefix("10.3.0.0/16"), Gateway: there, NIC: 3}, unix.ENETUNREACH},
		"by nothing":                {RouteEntry{Destination: prefix("10.3.0.0/16")}, unix.ENODEV},
		"no such interface":         {RouteEntry{Destination: prefix("10.3.0.0/16"), NIC: 77}, unix.ENODEV},
		"the interface is down":     {RouteEntry{Destination: prefix("10.3.0.0/16"), NIC: down.ID()}, unix.ENETDOWN},
		"no destination":            {RouteEntry{NIC: 2}, unix.EINVAL},
		"mixed versions":            {RouteEntry{Destination: prefix("10.3.0.0/16"), Gateway: far6}, unix.EINVAL},
		"unspecified gateway":       {RouteEntry{Destination: prefix("10.4.0.0/16"), Gateway: addr("0.0.0.0"), NIC: 2}, nil},
		"link-local gateway":        {RouteEntry{Destination: prefix("::/0"), Gateway: addr("fe80::1"), NIC: 3}, nil},
		"which link-local?":         {RouteEntry{Destination: prefix("::/0"), Gateway: addr("fe80::1"), Metric: 3}, unix.ENETUNREACH},
		"blackhole":                 {RouteEntry{Destination: prefix("10.5.0.0/16"), Type: RouteBlackhole, NIC: 77}, nil},
		"another table":             {RouteEntry{Destination: prefix("10.0.0.0/24"), NIC: 2, Table: 100}, nil},
	} {
		if err := w.s.AddRoute(c.e); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// What is added is masked, has defaults, and found again.
	if err := w.s.AddRoute(RouteEntry{Destination: prefix("2001:db8:5::77/48"), Gateway: far6}); err != nil {
		t.Fatal(err)
	}
	var got RouteEntry
	for _, e := range w.s.Routes() {
		if e.Destination == prefix("2001:db8:5::/48") {
			got = e
		}
	}
	if got.Metric != 1024 || got.Table != TableMain || got.Type != RouteUnicast || got.NIC != 2 {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		e    RouteEntry
		want error
	}{
		"by destination":     {RouteEntry{Destination: prefix("2001:db8:5::/48")}, nil},
		"the wrong gateway":  {RouteEntry{Destination: prefix("10.1.0.0/16"), Gateway: addr("10.0.0.8")}, unix.ESRCH},
		"the wrong metric":   {RouteEntry{Destination: prefix("10.1.0.0/16"), Metric: 7}, unix.ESRCH},
		"the wrong type":     {RouteEntry{Destination: prefix("10.1.0.0/16"), Type: RouteLocal}, unix.ESRCH},
		"the wrong source":   {RouteEntry{Destination: prefix("10.1.0.0/16"), Source: here}, unix.ESRCH},
		"the wrong protocol": {RouteEntry{Destination: prefix("10.1.0.0/16"), Protocol: 9}, unix.ESRCH},
		"not in this table":  {RouteEntry{Destination: prefix("10.1.0.0/16"), Table: 100}, unix.ESRCH},
		"in this one":        {RouteEntry{Destination: prefix("10.0.0.0/24"), Table: 100}, nil},
	} {
		if err := w.s.RemoveRoute(c.e); err != c.want {
			t.Errorf("remove %s: %v, want %v", name, err, c.want)
		}
	}
	for _, e := range []RouteEntry{{Destination: prefix("2001:db8:5::/48")}, {Table: 100}} {
		if err := w.s.RemoveRoute(e); err != unix.ESRCH {
			t.Errorf("remove what is gone: %v", err)
		}
	}
}

// way is a route in a few words.
func way(r *Route, err error) string {
	if err != nil {
		return err.(unix.Errno).Error()
	}
	s := fmt.Sprintf("%v by %d from %v", r.NextHop, r.NIC.ID(), r.Source)
	if r.Local {
		s += " local"
	}
	if r.Broadcast {
		s += " broadcast"
	}
	if r.Multicast {
		s += " multicast"
	}
	return s
}

func TestFindRoute(t *testing.T) {
	w := newWorld(t)
	s := w.s
	add(t, w.lo, "127.0.0.1/8", "::1/128")
	add(t, w.eth, "10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64", "fe80::2/64")
	add(t, w.fth, "10.1.0.1/24", "fe80::3/64")
	for _, e := range []RouteEntry{
		{Destination: prefix("0.0.0.0/0"), Gateway: addr("10.0.0.254")},
		{Destination: prefix("0.0.0.0/0"), Gateway: addr("10.1.0.254"), Metric: 10},
		{Destination: prefix("10.2.0.0/16"), Gateway: addr("10.1.0.254")},
		{Destination: prefix("10.2.3.0/24"), Gateway: addr("10.0.0.253"), Source: addr("10.0.0.2")},
		{Destination: prefix("10.3.0.0/16"), Type: RouteBlackhole},
		{Destination: prefix("10.4.0.0/16"), Type: RouteUnreachable},
		{Destination: prefix("10.5.0.0/16"), Type: RouteProhibit},
		{Destination: prefix("10.6.0.0/16"), Type: RouteThrow},
		{Destination: prefix("10.6.7.0/24"), NIC: 3, Table: TableDefault},
		{Destination: prefix("10.7.0.0/16"), NIC: 3, MTU: 1200},
		{Destination: prefix("::/0"), Gateway: addr("fe80::1"), NIC: 2},
	} {
		if err := s.AddRoute(e); err != nil {
			t.Fatalf("%v: %v", e, err)
		}
	}
	enetunreach, ehostunreach, eacces, einval, eaddrnotavail, enodev := unix.ENETUNREACH.Error(), unix.EHOSTUNREACH.Error(),
		unix.EACCES.Error(), unix.EINVAL.Error(), unix.EADDRNOTAVAIL.Error(), unix.ENODEV.Error()
	for name, c := range map[string]struct {
		q    RouteQuery
		want string
	}{
		"neighbour":                    {RouteQuery{Destination: there}, "10.0.0.9 by 2 from 10.0.0.1"},
		"from our second address":      {RouteQuery{Destination: there, Source: addr("10.0.0.2")}, "10.0.0.9 by 2 from 10.0.0.2"},
		"from our other interface":     {RouteQuery{Destination: there, Source: addr("10.1.0.1")}, "10.0.0.9 by 2 from 10.1.0.1"},
		"from somebody else":           {RouteQuery{Destination: there, Source: addr("10.0.0.77")}, eaddrnotavail},
		"from somebody else, by order": {RouteQuery{Destination: there, Source: addr("10.0.0.77"), AnySource: true}, "10.0.0.9 by 2 from 10.0.0.77"},
		"from an unspecified source":   {RouteQuery{Destination: there, Source: addr("0.0.0.0")}, "10.0.0.9 by 2 from 10.0.0.1"},
		"from a group":                 {RouteQuery{Destination: there, Source: addr("224.0.0.5")}, einval},
		"from another version":         {RouteQuery{Destination: there, Source: here6}, einval},
		"default":                      {RouteQuery{Destination: addr("192.0.2.1")}, "10.0.0.254 by 2 from 10.0.0.1"},
		"default by eth1":              {RouteQuery{Destination: addr("192.0.2.1"), NIC: 3}, "10.1.0.254 by 3 from 10.1.0.1"},
		"longer prefix":                {RouteQuery{Destination: addr("10.2.0.1")}, "10.1.0.254 by 3 from 10.1.0.1"},
		"longest prefix":               {RouteQuery{Destination: addr("10.2.3.1")}, "10.0.0.253 by 2 from 10.0.0.2"},
		"longest prefix by eth1":       {RouteQuery{Destination: addr("10.2.3.1"), NIC: 3}, "10.1.0.254 by 3 from 10.1.0.1"},
		"blackhole":                    {RouteQuery{Destination: addr("10.3.0.1")}, einval},
		"unreachable":                  {RouteQuery{Destination: addr("10.4.0.1")}, ehostunreach},
		"prohibited":                   {RouteQuery{Destination: addr("10.5.0.1")}, eacces},
		"throw":                        {RouteQuery{Destination: addr("10.6.0.1")}, enetunreach},
		"throw to the next table":      {RouteQuery{Destination: addr("10.6.7.1")}, "10.6.7.1 by 3 from 10.1.0.1"},
		"neighbours only":              {RouteQuery{Destination: addr("192.0.2.1"), DontRoute: true}, enetunreach},
		"neighbours only, is one":      {RouteQuery{Destination: there, DontRoute: true}, "10.0.0.9 by 2 from 10.0.0.1"},
		"ourselves":                    {RouteQuery{Destination: here}, "10.0.0.1 by 1 from 10.0.0.1 local"},
		"ourselves from elsewhere":     {RouteQuery{Destination: here, Source: addr("10.1.0.1")}, "10.0.0.1 by 1 from 10.1.0.1 local"},
		"loopback":                     {RouteQuery{Destination: addr("127.0.0.1")}, "127.0.0.1 by 1 from 127.0.0.1 local"},
		"any loopback":                 {RouteQuery{Destination: addr("127.8.9.1")}, "127.8.9.1 by 1 from 127.0.0.1 local"},
		"this host":                    {RouteQuery{Destination: addr("0.0.0.0")}, "127.0.0.1 by 1 from 127.0.0.1 local"},
		"this host from us":            {RouteQuery{Destination: addr("0.0.0.0"), Source: here}, "10.0.0.1 by 1 from 10.0.0.1 local"},
		"this network":                 {RouteQuery{Destination: addr("0.1.2.3")}, einval},
		"broadcast of the prefix":      {RouteQuery{Destination: addr("10.0.0.255")}, "10.0.0.255 by 2 from 10.0.0.1 broadcast"},
		"limited broadcast":            {RouteQuery{Destination: addr("255.255.255.255")}, "255.255.255.255 by 2 from 10.0.0.1 broadcast"},
		"limited broadcast by eth1":    {RouteQuery{Destination: addr("255.255.255.255"), NIC: 3}, "255.255.255.255 by 3 from 10.1.0.1 broadcast"},
		"limited broadcast from eth1":  {RouteQuery{Destination: addr("255.255.255.255"), Source: addr("10.1.0.1")}, "255.255.255.255 by 3 from 10.1.0.1 broadcast"},
		"group":                        {RouteQuery{Destination: addr("239.1.1.1")}, "239.1.1.1 by 2 from 10.0.0.1 multicast"},
		"group by eth1":                {RouteQuery{Destination: addr("239.1.1.1"), NIC: 3}, "239.1.1.1 by 3 from 10.1.0.1 multicast"},
		"group from eth1":              {RouteQuery{Destination: addr("239.1.1.1"), Source: addr("10.1.0.1")}, "239.1.1.1 by 3 from 10.1.0.1 multicast"},
		"local group by eth1":          {RouteQuery{Destination: addr("224.0.0.5"), NIC: 3}, "224.0.0.5 by 3 from 10.1.0.1 multicast"},
		"no such interface":            {RouteQuery{Destination: there, NIC: 99}, enodev},
		"no destination":               {RouteQuery{}, einval},
		"mapped":                       {RouteQuery{Destination: addr("::ffff:10.0.0.9")}, einval},
		"forwarded":                    {RouteQuery{Destination: addr("10.2.0.1"), Source: addr("192.0.2.5"), AnySource: true, InNIC: 2}, "10.1.0.254 by 3 from invalid IP"},
		"IPv6 neighbour":               {RouteQuery{Destination: far6}, "2001:db8::9 by 2 from 2001:db8::1"},
		"IPv6 default":                 {RouteQuery{Destination: addr("2001:db8:9::1")}, "fe80::1 by 2 from 2001:db8::1"},
		"IPv6 ourselves":               {RouteQuery{Destination: here6}, "2001:db8::1 by 1 from 2001:db8::1 local"},
		"IPv6 loopback":                {RouteQuery{Destination: addr("::1")}, "::1 by 1 from ::1 local"},
		"IPv6 this host":               {RouteQuery{Destination: addr("::")}, "::1 by 1 from ::1 local"},
		"link-local by eth1":           {RouteQuery{Destination: addr("fe80::9"), NIC: 3}, "fe80::9 by 3 from fe80::3"},
		"link-local from eth1":         {RouteQuery{Destination: addr("fe80::9"), Source: addr("fe80::3")}, "fe80::9 by 3 from fe80::3"},
		"IPv6 group by eth1":           {RouteQuery{Destination: addr("ff02::1"), NIC: 3}, "ff02::1 by 3 from fe80::3 multicast"},
		"IPv6 group":                   {RouteQuery{Destination: addr("ff02::1")}, "ff02::1 by 2 from fe80::2 multicast"},
		"IPv6 by an interface without": {RouteQuery{Destination: addr("2001:db8:9::1"), NIC: 3}, enetunreach},
	} {
		for range 2 { // the second time from the cache
			if got := way(s.FindRoute(c.q)); got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	}
	r, _ := s.FindRoute(RouteQuery{Destination: addr("10.7.0.1")})
	if r.MTU() != 1200 || r.LinkMTU() != 1200 {
		t.Errorf("the route's MTU is %d", r.MTU())
	}
	r, _ = s.FindRoute(RouteQuery{Destination: there})
	if r.MTU() != 1500 {
		t.Errorf("the interface's MTU is %d", r.MTU())
	}
	w.eth.SetMTU(9000)
	if r.MTU() != 9000 || r.Valid() {
		t.Errorf("after SetMTU: %d, valid %v", r.MTU(), r.Valid())
	}
	if err := w.eth.SetMTU(67); err != unix.EINVAL {
		t.Errorf("SetMTU(67): %v", err)
	}
}

func TestRoutesWithoutAnAddress(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		q    RouteQuery
		want string
	}{
		// A DHCP client's way.
		"broadcast":       {RouteQuery{Destination: addr("255.255.255.255"), NIC: 2}, "255.255.255.255 by 2 from 0.0.0.0 broadcast"},
		"bound":           {RouteQuery{Destination: there, NIC: 2}, "10.0.0.9 by 2 from 0.0.0.0"},
		"not bound":       {RouteQuery{Destination: there}, unix.ENETUNREACH.Error()},
		"loopback":        {RouteQuery{Destination: addr("127.0.0.1")}, unix.ENETUNREACH.Error()},
		"IPv6 group":      {RouteQuery{Destination: addr("ff02::2"), NIC: 2}, "ff02::2 by 2 from :: multicast"},
		"IPv6 link-local": {RouteQuery{Destination: addr("fe80::9"), NIC: 2}, unix.EADDRNOTAVAIL.Error()},
	} {
		if got := way(w.s.FindRoute(c.q)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	// The weak host model: any global address does, even of another interface.
	add(t, w.lo, "127.0.0.1/8")
	add(t, w.fth, "10.1.0.1/24", "2001:db8::1/64")
	w.s.AddRoute(RouteEntry{Destination: prefix("10.0.0.0/24"), NIC: 2})
	w.s.AddRoute(RouteEntry{Destination: prefix("2001:db8:1::/64"), NIC: 2})
	if got, want := way(w.s.FindRoute(RouteQuery{Destination: there})), "10.0.0.9 by 2 from 10.1.0.1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := way(w.s.FindRoute(RouteQuery{Destination: addr("2001:db8:1::9")})), "2001:db8:1::9 by 2 from 2001:db8::1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	w.lo.SetUp(false)
	if got := way(w.s.FindRoute(RouteQuery{Destination: addr("10.1.0.1")})); got != unix.ENETUNREACH.Error() {
		t.Errorf("with lo down: %s", got)
	}
	w.eth.SetUp(false)
	if got := way(w.s.FindRoute(RouteQuery{Destination: there, NIC: 2})); got != unix.ENETUNREACH.Error() {
		t.Errorf("with eth0 down: %s", got)
	}
}

func TestRoutesAreValidUntilSomethingChanges(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"a route", func() { w.s.AddRoute(RouteEntry{Destination: prefix("10.5.0.0/16"), NIC: 2}) }},
		{"no route", func() { w.s.RemoveRoute(RouteEntry{Destination: prefix("10.5.0.0/16")}) }},
		{"an address", func() { add(t, w.eth, "10.0.0.2/24") }},
		{"no address", func() { w.eth.RemoveAddress(prefix("10.0.0.2/24")) }},
		{"a rule", func() { w.s.AddRule(Rule{Priority: 5, Table: 7, Action: 1}) }},
		{"no rule", func() { w.s.RemoveRule(Rule{Priority: 5}) }},
		{"an interface", func() { w.s.CreateNIC(50, "eth50", &fakeLink{mtu: 1500}) }},
		{"no interface", func() { w.s.RemoveNIC(50) }},
		{"up and down", func() { w.fth.SetUp(false); w.fth.SetUp(true) }},
		{"a new address", func() { w.eth.UpdateAddress(here, func(a *Address) { a.Deprecated = true }) }},
	} {
		r, err := w.s.FindRoute(RouteQuery{Destination: there})
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := w.s.FindRoute(RouteQuery{Destination: there}); again != r {
			t.Error("the route was not remembered")
		}
		if !r.Valid() {
			t.Errorf("before %s: not valid", c.name)
		}
		c.f()
		if r.Valid() {
			t.Errorf("after %s: still valid", c.name)
		}
	}
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	add(t, w.fth, "10.1.0.1/24")
	s := w.s
	s.AddRoute(RouteEntry{Destination: prefix("0.0.0.0/0"), Gateway: addr("10.0.0.254")})
	s.AddRoute(RouteEntry{Destination: prefix("0.0.0.0/0"), Gateway: addr("10.1.0.254"), Table: 100})
	q := RouteQuery{Destination: addr("192.0.2.1")}
	with := func(f func(*RouteQuery)) RouteQuery { q := q; f(&q); return q }
	for name, c := range map[string]struct {
		rule Rule
		q    RouteQuery
		want string
	}{
		"by mark":            {Rule{Mark: 5}, with(func(q *RouteQuery) { q.Mark = 5 }), "10.1.0.254 by 3 from 10.1.0.1"},
		"by mask":            {Rule{Mark: 4, MarkMask: 4}, with(func(q *RouteQuery) { q.Mark = 5 }), "10.1.0.254 by 3 from 10.1.0.1"},
		"other mark":         {Rule{Mark: 5}, with(func(q *RouteQuery) { q.Mark = 6 }), "10.0.0.254 by 2 from 10.0.0.1"},
		"by source":          {Rule{Source: prefix("10.1.0.9/24")}, with(func(q *RouteQuery) { q.Source = addr("10.1.0.1") }), "10.1.0.254 by 3 from 10.1.0.1"},
		"other source":       {Rule{Source: prefix("10.9.0.0/24")}, with(func(q *RouteQuery) { q.Source = addr("10.1.0.1") }), "10.0.0.254 by 2 from 10.1.0.1"},
		"by destination":     {Rule{Destination: prefix("192.0.2.0/24")}, q, "10.1.0.254 by 3 from 10.1.0.1"},
		"not by destination": {Rule{Destination: prefix("192.0.2.0/24"), Invert: true}, q, "10.0.0.254 by 2 from 10.0.0.1"},
		"by interface":       {Rule{OutNIC: 3}, with(func(q *RouteQuery) { q.NIC = 3 }), "10.1.0.254 by 3 from 10.1.0.1"},
		"other interface":    {Rule{OutNIC: 2}, q, "10.0.0.254 by 2 from 10.0.0.1"},
		"by incoming":        {Rule{InNIC: 2}, with(func(q *RouteQuery) { q.InNIC, q.AnySource = 2, true }), "10.1.0.254 by 3 from invalid IP"},
		"by TOS":             {Rule{TOS: 16}, with(func(q *RouteQuery) { q.TOS = 16 }), "10.1.0.254 by 3 from 10.1.0.1"},
		"other TOS":          {Rule{TOS: 16}, q, "10.0.0.254 by 2 from 10.0.0.1"},
		"blackhole":          {Rule{Action: 6}, q, unix.EINVAL.Error()},
		"unreachable":        {Rule{Action: 7}, q, unix.ENETUNREACH.Error()},
		"prohibit":           {Rule{Action: 8}, q, unix.EACCES.Error()},
		"no action":          {Rule{Action: 3}, q, "10.0.0.254 by 2 from 10.0.0.1"},
		"an empty table":     {Rule{Table: 55}, q, "10.0.0.254 by 2 from 10.0.0.1"},
		"of IPv6":            {Rule{V6: true}, q, "10.0.0.254 by 2 from 10.0.0.1"},
	} {
		c.rule.Priority = 1000
		if c.rule.Action == 0 {
			c.rule.Action = 1
		}
		if c.rule.Table == 0 {
			c.rule.Table = 100
		}
		if err := s.AddRule(c.rule); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.AddRule(c.rule); err != unix.EEXIST {
			t.Errorf("%s again: %v", name, err)
		}
		if got := way(s.FindRoute(c.q)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if err := s.RemoveRule(c.rule); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if err := s.RemoveRule(Rule{Priority: 1000}); err != unix.ENOENT {
		t.Errorf("remove what is gone: %v", err)
	}
	var prio []uint32
	for _, r := range s.Rules() {
		prio = append(prio, r.Priority)
	}
	if !slices.Equal(prio, []uint32{0, 0, 32766, 32766, 32767}) {
		t.Errorf("the rules have priorities %v", prio)
	}
	s.AddRule(Rule{Priority: 100, Table: 5, Action: 1})
	if r := s.Rules(); !slices.IsSortedFunc(r, func(a, b Rule) int { return int(a.Priority) - int(b.Priority) }) {
		t.Errorf("the rules are not in order: %v", r)
	}
}

func TestPathMTU(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24", "2001:db8::1/64")
	r, _ := w.s.FindRoute(RouteQuery{Destination: there})
	r6, _ := w.s.FindRoute(RouteQuery{Destination: far6})
	step := func(what string, want, want6 uint32) {
		t.Helper()
		if got, got6 := r.MTU(), r6.MTU(); got != want || got6 != want6 {
			t.Errorf("%s: %d and %d, want %d and %d", what, got, got6, want, want6)
		}
	}
	step("at first", 1500, 1500)
	w.s.SetPathMTU(there, 1000)
	w.s.SetPathMTU(far6, 1400)
	step("set", 1000, 1400)
	if r.LinkMTU() != 1500 {
		t.Errorf("LinkMTU is %d", r.LinkMTU())
	}
	w.s.SetPathMTU(there, 1200)
	w.s.SetPathMTU(far6, 1450)
	step("a greater one is not believed", 1000, 1400)
	w.s.SetPathMTU(there, 10)
	w.s.SetPathMTU(far6, 10)
	step("too small", 552, 1280)
	if !r.Valid() {
		t.Error("a path MTU makes routes invalid")
	}
	w.clock.Advance(9 * time.Minute)
	step("nine minutes later", 552, 1280)
	w.clock.Advance(time.Minute)
	step("ten minutes later", 1500, 1500)
	if n := w.s.pathMTU.n.Load(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

func TestPathMTUsAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 5000 {
		w.s.SetPathMTU(netip.AddrFrom4([4]byte{10, 5, byte(i >> 8), byte(i)}), 1000)
		if i == 2500 {
			w.clock.Advance(11 * time.Minute)
		}
	}
	if n := len(w.s.pathMTU.m); n > pathMTULimit || n == 0 {
		t.Errorf("%d entries", n)
	}
	if got := w.s.pathMTU.get(w.s, netip.AddrFrom4([4]byte{10, 5, 4999 >> 8, 4999 & 0xff})); got != 1000 {
		t.Errorf("the newest is %d", got)
	}
}

func TestSourceSelection(t *testing.T) {
	// The examples of RFC 6724 section 10.1, and what the rules say besides.
	for name, c := range map[string]struct {
		dst  string
		have []string // with flags: d deprecated, t tentative, x duplicate
		want string
	}{
		"scope, global":            {"2001:db8:1::1", []string{"2001:db8:3::1/64", "fe80::1/64"}, "2001:db8:3::1"},
		"scope, site-local group":  {"ff05::1", []string{"2001:db8:3::1/64", "fe80::1/64"}, "2001:db8:3::1"},
		"same address":             {"2001:db8:1::1", []string{"2001:db8:1::1/64d", "2001:db8:2::1/64"}, "2001:db8:1::1"},
		"scope, link-local":        {"fe80::1", []string{"fe80::2/64d", "2001:db8:1::1/64"}, "fe80::2"},
		"longest prefix":           {"2001:db8:1::1", []string{"2001:db8:1::2/64", "2001:db8:3::2/64"}, "2001:db8:1::2"},
		"longest prefix, reversed": {"2001:db8:1::1", []string{"2001:db8:3::2/64", "2001:db8:1::2/64"}, "2001:db8:1::2"},
		"label 6to4":               {"2002:c633:6401::1", []string{"2001:db8:1::2/64", "2002:c633:6401::d5e3:7953:13eb:22e8/64"}, "2002:c633:6401::d5e3:7953:13eb:22e8"},
		"label, other order":       {"2002:c633:6401::1", []string{"2002:c633:6401::d5e3:7953:13eb:22e8/64", "2001:db8:1::2/64"}, "2002:c633:6401::d5e3:7953:13eb:22e8"},
		"ULA":                      {"fd00::9", []string{"2001:db8:1::2/64", "fd00:1::1/64"}, "fd00:1::1"},
		"deprecated":               {"2001:db8:1::1", []string{"2001:db8:1::2/64d", "2001:db8:3::2/64"}, "2001:db8:3::2"},
		"tentative":                {"2001:db8:1::1", []string{"2001:db8:1::2/64t", "2001:db8:3::2/64"}, "2001:db8:3::2"},
		"duplicate":                {"2001:db8:1::1", []string{"2001:db8:1::2/64x", "2001:db8:3::2/64"}, "2001:db8:3::2"},
		"only link-local":          {"2001:db8:1::1", []string{"fe80::1/64"}, "fe80::1"},
		"link-local group":         {"ff02::1", []string{"2001:db8:3::1/64", "fe80::1/64"}, "fe80::1"},
		"interface-local group":    {"ff01::1", []string{"2001:db8:3::1/64", "fe80::1/64"}, "fe80::1"},
		"the first of equals":      {"2001:db8:9::1", []string{"2001:db8:8::1/64", "2001:db8:8::2/64"}, "2001:db8:8::1"},
		"site-local":               {"fec0::9", []string{"2001:db8:3::1/64", "fec0::1/64"}, "fec0::1"},
		"prefix length counts":     {"2001:db8::8000:1", []string{"2001:db8::8000:2/64", "2001:db8::1/64"}, "2001:db8::8000:2"},
		"none":                     {"2001:db8::1", []string{"2001:db8::8000:2/64t"}, "invalid IP"},
	} {
		w := newWorld(t)
		for _, p := range c.have {
			a := Address{Prefix: prefix(strings.TrimRight(p, "dtx"))}
			a.Deprecated, a.Tentative, a.Duplicate = strings.HasSuffix(p, "d"), strings.HasSuffix(p, "t"), strings.HasSuffix(p, "x")
			if err := w.eth.AddAddress(a); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.eth.SourceFor(addr(c.dst)); got.String() != c.want && (!got.IsValid() || got != addr(c.want)) {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// RFC 6724 section 5, with addresses of several interfaces.
func TestSourceOfAnotherInterface(t *testing.T) {
	for name, c := range map[string]struct {
		dst           string
		out, lo, fth  []string
		want          string
		outDeprecated bool
	}{
		"rule 5: the outgoing interface's":            {"2001:db8:1::9", []string{"2001:db8:2::1/64"}, []string{"2001:db8:1::1/64"}, nil, "2001:db8:2::1", false},
		"rule 2 comes first: it has link-local only":  {"2001:db8:1::9", []string{"fe80::1/64"}, []string{"2001:db8:5::1/128"}, nil, "2001:db8:5::1", false},
		"rule 3 comes first: it has a deprecated one": {"2001:db8:1::9", []string{"2001:db8:2::1/64"}, []string{"2001:db8:5::1/128"}, nil, "2001:db8:5::1", true},
		"it has none":             {"2001:db8:1::9", nil, nil, []string{"2001:db8:3::1/64"}, "2001:db8:3::1", false},
		"rule 8 among the others": {"2001:db8:1::9", nil, []string{"2001:db8:5::1/128"}, []string{"2001:db8:1::1/64"}, "2001:db8:1::1", false},
		"link-local and loopback are of one link only": {"2001:db8:1::9", nil, []string{"::1/128"}, []string{"fe80::3/64"}, "", false},
		"to a link-local address":                      {"fe80::9", nil, nil, []string{"2001:db8:3::1/64"}, "", false},
		"to a group":                                   {"ff02::9", nil, nil, []string{"2001:db8:3::1/64"}, "", false},
	} {
		w := newWorld(t)
		for nic, list := range map[*NIC][]string{w.eth: c.out, w.lo: c.lo, w.fth: c.fth} {
			for _, p := range list {
				if err := nic.AddAddress(Address{Prefix: prefix(p), Deprecated: nic == w.eth && c.outDeprecated}); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := netip.Addr{}
		if c.want != "" {
			want = addr(c.want)
		}
		if got := w.s.nics.Load().sourceFor(w.eth, addr(c.dst), addr(c.dst)); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func BenchmarkFindRoute(b *testing.B) {
	w := newWorld(b)
	add(b, w.eth, "10.0.0.1/24")
	for i := range 50 {
		w.s.AddRoute(RouteEntry{Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(i)}), 24), NIC: 2})
	}
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.s.FindRoute(RouteQuery{Destination: there}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			if _, err := w.s.FindRoute(RouteQuery{Destination: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Mark: uint32(i)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRouteValid(b *testing.B) {
	w := newWorld(b)
	add(b, w.eth, "10.0.0.1/24")
	r, _ := w.s.FindRoute(RouteQuery{Destination: there})
	b.ReportAllocs()
	for b.Loop() {
		if !r.Valid() || r.MTU() != 1500 {
			b.Fatal("not valid")
		}
	}
}
