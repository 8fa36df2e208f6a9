/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "shim.h"

/* Frames. */

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

/* For tests: DPDK's own opinion of whether an mbuf is sound. */
int shim_mbuf_check(const struct rte_mbuf *mbuf, int is_header, const char **reason)
{
	return rte_mbuf_check(mbuf, is_header, reason);
}

/* Threads and the log. */

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	((shim_log_sink)cookie)(text, len);
	return (ssize_t)len;
}

int shim_log_open(shim_log_sink sink)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie((void *)sink, "w", io);

	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IOLBF, 4096);
	return rte_openlog_stream(stream);
}

/* Ports. */

int shim_dev_info(uint16_t port, struct shim_dev_info *out)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret != 0)
		return ret;
	memset(out, 0, sizeof(*out));
	out->driver_name = info.driver_name;
	out->device = info.device;
	out->min_rx_bufsize = info.min_rx_bufsize;
	out->max_rx_pktlen = info.max_rx_pktlen;
	out->min_mtu = info.min_mtu;
	out->max_mtu = info.max_mtu;
	out->max_rx_queues = info.max_rx_queues;
	out->max_tx_queues = info.max_tx_queues;
	out->rx_desc_max = info.rx_desc_lim.nb_max;
	out->rx_desc_min = info.rx_desc_lim.nb_min;
	out->tx_desc_max = info.tx_desc_lim.nb_max;
	out->tx_desc_min = info.tx_desc_lim.nb_min;
	out->rx_scatter = (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0;
	out->tx_multi_segs = (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
	out->rss = (info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)) != 0;
	return 0;
}

int shim_dev_remove(struct rte_device *device)
{
	return rte_dev_remove(device);
}

int shim_dev_numa_node(const struct rte_device *device)
{
	return rte_dev_numa_node(device);
}

/* All ports that a device description made, at most `room` of them; how many there are. */
int shim_ports_of(const char *devargs, uint16_t *out, int room)
{
	struct rte_dev_iterator iterator;
	uint16_t port;
	int found = 0;

	RTE_ETH_FOREACH_MATCHING_DEV(port, devargs, &iterator) {
		if (found < room)
			out[found] = port;
		found++;
	}
	return found;
}

/* Receive checksum, VLAN stripping and every other rewrite of frames stay off: the switch does its own. */
int shim_port_configure(uint16_t port, const struct shim_port_config *config)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
	int ret = rte_eth_dev_info_get(port, &info);

	if (ret != 0)
		return ret;
	memset(&conf, 0, sizeof(conf));
	if (config->mtu != 0)
		conf.rxmode.mtu = config->mtu;
	if (config->rx_scatter)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
	if (config->tx_multi_segs)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (config->rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
	}
	return rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
}

int shim_port_link(uint16_t port, struct shim_link *out)
{
	struct rte_eth_link link;
	int ret = rte_eth_link_get_nowait(port, &link);

	if (ret != 0)
		return ret;
	out->speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? UINT32_MAX : link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

int shim_port_mac(uint16_t port, uint8_t out[6])
{
	struct rte_ether_addr address;
	int ret = rte_eth_macaddr_get(port, &address);

	if (ret == 0)
		memcpy(out, address.addr_bytes, 6);
	return ret;
}

/* Pools. */

uint32_t shim_pool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

/* Bytes of one object as its user sees it. */
uint32_t shim_pool_object_bytes(const struct rte_mempool *pool)
{
	return pool->elt_size;
}

/* Bytes that a frame's buffer takes in a pool, its mbuf and the pool's own header included. */
uint32_t shim_mbuf_pool_bytes_per_frame(uint16_t data_room)
{
	return rte_mempool_calc_obj_size(sizeof(struct rte_mbuf) + data_room, 0, NULL);
}

/* Bytes that a pool with caches takes before its first frame: a cache for every thread there could be. */
uint32_t shim_mbuf_pool_fixed_bytes(void)
{
	return sizeof(struct rte_mempool) + sizeof(struct rte_pktmbuf_pool_private) +
	       RTE_MAX_LCORE * sizeof(struct rte_mempool_cache);
}
